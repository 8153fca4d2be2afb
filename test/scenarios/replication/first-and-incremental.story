# The first run copies what is allocated; the second only what changed since the mark that the newest point names.
vm web on production

protect web from production to recovery
run web
wait 5 min
write web vda 3 changed
run web
expect 2 points of web
expect the log to say vda incremental 64.0 KiB
