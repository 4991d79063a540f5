"""The public names and where they are: read by type checkers, and by the lazy imports of `__init__.py`."""

from .advice import advise as advise
from .audits import audit as audit
from .behaviour.scoring import score as score
from .dials.run import dial as dial
from .estimates import estimate as estimate
from .merge_check import check_merge as check_merge
from .merging import merge as merge
from .records import Audit as Audit
from .records import load as load
from .render.html import report as report
from .repairs.run import repair as repair
from .settings import Batches as Batches
from .settings import Generation as Generation
from .settings import HarnessTasks as HarnessTasks
from .similarities import similarity as similarity
from .studies.compare import compare as compare
from .studies.continual import continual as continual
from .studies.correlation import correlate as correlate
from .studies.curves import curves as curves
from .studies.run import study as study
from .training.monitor import IntruderMonitor as IntruderMonitor
from .training.run import train as train
from .version import __version__ as __version__
