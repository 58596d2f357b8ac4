"""Explorers whose pictures are computed in the browser, so that no slider waits for the kernel."""
