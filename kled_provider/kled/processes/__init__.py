"""Resource `kled_process`, and the processes that outlive the coordinator."""
