"""Side-by-side measurements: transept and the peer in alternating fresh processes on one machine, reported as ratios."""
