# The controller dies when all blocks are moved and the point is not sealed: its successor seals the same point of the same instant.
vm web on production

protect web from production to recovery
run web
write web vda 3 before the crash
fault at recovery.store.sealPartial: crash-before
run web
write web vda 3 after the crash
a controller starts
until everything has settled
expect 2 points of web
run web
expect the log to say vda incremental 64.0 KiB
