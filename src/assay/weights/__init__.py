"""Files to matrices: which stored tensors of two models belong together, and what update joins them."""
