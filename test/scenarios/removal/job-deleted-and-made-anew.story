# The job is deleted, the replica stays; a new job for the same VM and target takes it over, and its first run is incremental.
vm web on production

protect web from production to recovery
run web
delete the job of web
write web vda 2 meanwhile
protect web from production to recovery: keep 3
run web
expect the log to say vda incremental 64.0 KiB
