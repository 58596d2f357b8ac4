# This page has no exercises, so there is nothing to answer wrongly.
