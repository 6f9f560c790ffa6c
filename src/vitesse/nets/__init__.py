"""Networks: the modules of floor 1 put together as an architecture says."""

from vitesse.nets.build import build as build
from vitesse.nets.cells import NetworkOfCells as NetworkOfCells
from vitesse.nets.interface import Network as Network
from vitesse.nets.network import NetworkOfBlocks as NetworkOfBlocks
