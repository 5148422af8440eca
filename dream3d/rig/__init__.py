"""Bodies with joints: what a rig is, how it bends, how it is read and checked, and how ours is built."""
