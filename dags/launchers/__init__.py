"""How a job starts: as a child process, a Docker container or a Kubernetes pod.

The DAGs only say ``job_task("bronze", arguments)``; the environment variable ``FTI_LAUNCHER`` says which
operator that becomes. Nothing here is imported before it is needed, so a laptop never loads the Kubernetes client.
"""
