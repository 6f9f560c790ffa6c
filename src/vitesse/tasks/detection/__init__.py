"""Detection: a network of ours in torchvision's RetinaNet and Mask R-CNN, trained, measured and kept."""

from vitesse.tasks.detection.detector import Detector as Detector
from vitesse.tasks.detection.detector import with_backbone as with_backbone
from vitesse.tasks.detection.saved import load as load
from vitesse.tasks.detection.saved import save as save
from vitesse.tasks.detection.settings import DetectionSettings as DetectionSettings
from vitesse.tasks.detection.settings import DetectorSettings as DetectorSettings
