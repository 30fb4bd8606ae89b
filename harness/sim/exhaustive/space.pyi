from .cluster import Cluster
from .scope import Scope

class Space(Cluster):
    scope: Scope
