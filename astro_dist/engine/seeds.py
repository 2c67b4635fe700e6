"""Random generators that belong to an index, never to a process."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def stream(seed: int, *key: int | str) -> "np.random.Generator":
    """Return the generator that belongs to ``(seed, *key)`` and to nothing else.

    Philox is counter based (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): the draws
    are the same on any machine, in any order of calls and with any number of workers. The key is hashed, so
    that parts of any kind and number may be given.
    """
    # Here, because the contract of the stages imports this module, and many commands draw nothing.
    import numpy as np

    # The types and a separator that no name holds keep 1 and "1", and ("a", "b") and ("ab",), apart.
    text = "\x1f".join([str(int(seed)), *(f"{type(part).__name__}:{part}" for part in key)])
    # 16 bytes: the key of Philox is two 64-bit words. "<u8" fixes their byte order on every machine.
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype="<u8")))
