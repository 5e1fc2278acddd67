"""Run Snakemake with one second between status queries, for jobs of seconds: python tests/cluster/fast_poll.py ARGUMENTS."""

import asyncio

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def soon(self: RemoteExecutor) -> None:
    """Wait one second before the next query, in place of the plugin's longer wait."""
    await asyncio.sleep(1)


RemoteExecutor.sleep = soon
main()
