from .downlinks import Downlinks

class Uplink(Downlinks):
    state: int
    moving: bool
    move_node: int
    move_address: str
    def uplink_up(self, node: int, now_ns: int) -> None: ...
    def uplink_down(self) -> None: ...
