"""Real virtual machines: the image they start from, QEMU, and what is said to it.

``VirtualWorld`` (world.py) makes a lab of them; everything else here is one step of that.
Nothing is imported before it is asked for: see the package above.
"""
