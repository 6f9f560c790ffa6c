"""Training: one loop on Accelerate for every network."""

from vitesse.train.settings import TrainSettings as TrainSettings
