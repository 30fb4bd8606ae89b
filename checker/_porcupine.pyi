from typing_extensions import Buffer

VERDICTS: tuple[str, ...]

def version() -> str: ...
def check_key(
    kind: Buffer, a: Buffer, b: Buffer, inv: Buffer, ret: Buffer, *, mode: int, shape: Buffer,
    path_start: Buffer, symbols: Buffer, initial: int, timeout_ns: int,
) -> str: ...
