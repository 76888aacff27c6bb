"""Ours against a peer, interleaved in one run; ratios are what to trust on a shared machine."""
