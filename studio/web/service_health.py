"""What a viewer can learn about the health of a data set, and put right."""

from __future__ import annotations

from typing import Any

from studio.web.access import Viewer, require
from studio.web.service_datasets import DatasetService
from studio.web.service_jobs import JobService


class HealthService(DatasetService, JobService):
    """The part of the service that is about the health of data sets."""

    def measure_dataset(self, viewer: Viewer, dataset_id: str) -> dict[str, Any]:
        """Start measuring the pictures that are not measured yet; returns the job, the running one if there is one."""
        require(viewer, None, "create", "job")
        dataset = self._dataset(viewer, dataset_id, "read")
        live = self.live_job("measure", dataset.id)
        if live is not None and live.record()["owner"] == viewer.id:
            return self.job(viewer, live.id)
        return self.submit_job(viewer, "measure", {"dataset": dataset.id}, name=f"Measure {dataset.name}", light=True,
                               subject=dataset.id)
