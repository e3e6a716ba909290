"""Layers that prepare data: scaling, resizing, and changes at random while training."""
