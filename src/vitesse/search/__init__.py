"""Search: strategies ask for architectures and are told scores; they see values and callables, no networks."""

from vitesse.search.candidate import Candidate as Candidate
from vitesse.search.candidate import Strategy as Strategy
from vitesse.search.contraction import Contraction as Contraction
from vitesse.search.evolution import Evolution as Evolution
from vitesse.search.feasible import check_budget as check_budget
from vitesse.search.feasible import within as within
from vitesse.search.latency import LatencyModel as LatencyModel
from vitesse.search.latency import sample_for_fit as sample_for_fit
from vitesse.search.loop import search as search
from vitesse.search.nsga2 import NSGA2 as NSGA2
from vitesse.search.pareto import finalists as finalists
from vitesse.search.pareto import front as front
from vitesse.search.pareto import winner as winner
from vitesse.search.racing import race as race
from vitesse.search.random_search import RandomSearch as RandomSearch
from vitesse.search.study import Study as Study
from vitesse.search.study import read_candidates as read_candidates
