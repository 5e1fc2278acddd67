"""Read config.yaml, where no --configfile replaces it: two such files are not merged."""

import os
import sys

from snakemake.exceptions import WorkflowError

sys.path.insert(0, os.path.join(workflow.basedir, "workflow"))

from scalinglaws.dag import environment

environment.check()

from scalinglaws.common.errors import StudyError
from scalinglaws.study import read_yaml

# A job on a cluster node parses this file again. By then config.yaml may have changed or be half saved: there, nothing is
# read from it. A run's spec comes from its file, and the study from a copy of the config that the job was submitted with.
if not workflow.remote_exec and not workflow.overwrite_configfiles:
    # Snakemake's own reader would run code that a file of YAML asks it to run, so that this one comes first.
    try:
        read_yaml.read("config.yaml")
    except StudyError as error:
        raise WorkflowError(str(error)) from None

    configfile: "config.yaml"
