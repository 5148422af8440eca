"""How the trained priors of the toybox are made: data, words, networks, measures. `python -m dream3d.toybox.train` drives them."""
