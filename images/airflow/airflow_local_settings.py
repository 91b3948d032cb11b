"""What every part of Airflow reads at its start.

The scheduler's tasks are forks of it: what it loads here, once, each task that starts a pod would load anew, twice, in
a second each. The triggerer would stand still for it at its first pod.
"""

import os
import sys

__all__: list[str] = []

if os.environ.get("FTI_LAUNCHER") == "kubernetes" and {"scheduler", "triggerer"} & set(sys.argv):
    import airflow.providers.cncf.kubernetes.operators.pod
    import airflow.providers.cncf.kubernetes.triggers.pod  # noqa: F401
