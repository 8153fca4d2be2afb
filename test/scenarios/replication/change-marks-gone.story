# Somebody removes all change marks at the source: the run compares instead of trusting, and says why; the next is incremental.
vm web on production

protect web from production to recovery
run web
write web vda 5 new
somebody removes the change marks of web
run web
expect the log to say vda resync 64.0 KiB
write web vda 6 newer
run web
expect the log to say vda incremental 64.0 KiB
