"""Networks: the modules of floor 1 put together as an architecture says."""

from vitesse.nets.build import build as build
from vitesse.nets.network import Network as Network
