"""What a model does: loss on text and accuracy on tasks, tuned beside base."""
