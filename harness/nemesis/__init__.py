"""Faults: what can be broken, how it is proven to be broken, and how it always heals.

    packages(names, options)  -->  generator (lane.py)  -- operations -->  FaultNemesis
                                                                             |
             history  <-- requested, effective, ended, recovered --  kinds (catalogue.py):
                                                                     partition.py, process.py
                                                                             |
    on every host:  agent/  <-- SSH: agents.py --  cut, pause, stop, views of beacons (probe.py)

``grudge.py`` computes who drops whose packets. ``heal.py`` undoes everything without the run
that did it. ``archive.py`` makes one file of ``agent/``.
"""
from .catalogue import CATALOGUE
from .fault import Fault
from .heal import Healed, heal
from .nemesis import HEAL, FaultNemesis, Nemesis
from .packages import Options, Package, Perf, compose, packages

__all__ = ["CATALOGUE", "HEAL", "Fault", "FaultNemesis", "Healed", "Nemesis", "Options", "Package",
           "Perf", "compose", "heal", "packages"]
