"""Behaviour of models: loss on text and accuracy on tasks, tuned beside base."""
