"""Spark where one pod is too small: the job's pod becomes the driver and starts executors of the job's own image.

The driver is found by its pod's address, so it needs no Service. Executors belong to the driver's pod, and go when it
goes. The job knows nothing of this: it gets a Spark master and some settings, as from anybody.
"""

from __future__ import annotations

from kubernetes.client import models as k8s

from launchers.settings import LauncherSettings

DRIVER_CPU = "200m"
"""Requested by a driver: the work is its executors'."""
DRIVER_PORT, BLOCKS_PORT = 7078, 7079
TEMPLATE_FOLDER = "/etc/fti-spark"
CORE_OVERHEAD_MIB = 512
"""Beside the JVM's heap, for each task at once: a Python worker."""
JVM_OVERHEAD_MIB = 384


def driver_env(image: str, settings: LauncherSettings) -> list[k8s.V1EnvVar]:
    """Environment of a driver's container. Kubernetes puts the pod's own address and name in, by ``$(…)``."""
    cores = settings.spark_executor_cores
    conf = {
        "spark.driver.host": "$(POD_IP)",
        "spark.driver.bindAddress": "$(POD_IP)",  # where executors look for it, too
        "spark.driver.port": DRIVER_PORT,
        "spark.driver.blockManager.port": BLOCKS_PORT,
        "spark.blockManager.port": BLOCKS_PORT,
        "spark.executor.instances": settings.spark_executors,
        # A job waits for all of them: the first alone would do the work of the others that come a moment later.
        "spark.scheduler.minRegisteredResourcesRatio": 1,
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "120s",
        "spark.executor.cores": cores,
        "spark.executor.memory": settings.spark_executor_memory,
        "spark.executor.memoryOverhead": f"{JVM_OVERHEAD_MIB + cores * CORE_OVERHEAD_MIB}m",
        "spark.kubernetes.executor.request.cores": settings.spark_executor_cpu or cores,
        "spark.kubernetes.namespace": settings.namespace,
        "spark.kubernetes.driver.pod.name": "$(POD_NAME)",
        "spark.kubernetes.executor.podNamePrefix": "$(POD_NAME)",
        "spark.kubernetes.container.image": image,
        "spark.kubernetes.container.image.pullPolicy": "IfNotPresent",
        "spark.kubernetes.executor.podTemplateFile": f"{TEMPLATE_FOLDER}/executor.yaml",
        # Without what it would ask the cluster for besides pods.
        "spark.kubernetes.executor.disableConfigMap": "true",
        "spark.kubernetes.driver.service.deleteOnTermination": "false",
        "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
        "spark.kubernetes.driver.reusePersistentVolumeClaim": "false",
    }
    return [
        *(_of_the_pod(*field) for field in (("POD_IP", "status.podIP"), ("POD_NAME", "metadata.name"))),
        k8s.V1EnvVar(name="SPARK_MASTER", value="k8s://https://kubernetes.default.svc:443"),
        k8s.V1EnvVar(name="SPARK_CONF", value="\n".join(f"{name}={value}" for name, value in conf.items())),
    ]


def _of_the_pod(name: str, path: str) -> k8s.V1EnvVar:
    source = k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path=path))
    return k8s.V1EnvVar(name=name, value_from=source)
