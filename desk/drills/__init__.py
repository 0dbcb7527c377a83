"""Drills: the incidents of the runbook, provoked on a running desk that trades on the simulator."""
