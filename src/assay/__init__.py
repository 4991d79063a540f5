"""Fine-tuning assayed: its effect on a model, and whether another way of tuning would have been better.

The names in `__init__.pyi` are the public promise. They are imported when they are first used, so that `import assay`
is quick.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
