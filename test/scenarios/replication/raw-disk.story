# A raw disk tracks no changes: it is compared at every run, while the other disk of the same VM stays incremental.
vm web on production: disk vda 8 MiB, raw disk vdb 4 MiB

protect web from production to recovery
run web
wait 2 min
write web vda 1 new
run web
expect the log to say the disk does not track changes
expect the log to say vda incremental 64.0 KiB
