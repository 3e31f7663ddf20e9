"""Whether this process is the driver of a job that ``ray job submit`` started."""

import os


def is_ray_job() -> bool:
    """Ray hands a job's driver its configuration through this variable, and nobody else."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
