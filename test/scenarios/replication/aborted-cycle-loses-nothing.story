# The check before the seal fails: the cycle is thrown away, and what it had moved is in the next one, found by the old mark.
vm web on production

protect web from production to recovery
run web
write web vda 3 precious
fault at recovery.store.sealPartial 4 times: fail
run web
expect the last operation failed
expect 1 point of web
run web
expect the log to say vda incremental 64.0 KiB
