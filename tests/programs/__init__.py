"""Real programs on the loop: libraries that people use, with real servers on loopback."""
