# The source is replicated while off: nothing stands in the way of its start afterwards, and its marks survive.
vm web on production

protect web from production to recovery
run web
write web vda 9 before the end
shut down web
run web
expect the log to say vda incremental 64.0 KiB
start web
write web vda 9 after the start
run web
expect 3 points of web
