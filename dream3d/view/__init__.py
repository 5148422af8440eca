"""Looking at a run while it works: another process watches its folder and asks for changes in control.json."""
