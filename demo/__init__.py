"""The demonstration: one model, tuned in two ways, set side by side."""
