# The target runs full in the middle of a run: the run fails with a name for it, the chain is sound, and with room again the next run is incremental.
vm web on production

protect web from production to recovery
run web
write web vdb 20-60 more
storage of recovery has 1 MiB left
run web
expect the last operation failed with target-full
expect no guest to have been paused
storage of recovery has 100 MiB left
run web
expect 2 points of web
