# The controller dies in the middle of a merge: no point reads differently before or after, and the merge is finished.
vm web on production

protect web from production to recovery: keep 2
write web vda 0-30 first
run web
write web vda 10-40 second
run web
write web vda 20-50 third
fault at recovery.store.retirePoint:merged: crash-before
run web
a controller starts
until everything has settled
expect 2 points of web
fail over web to P2 fencing by power-off
expect web-replica to hold second 40 in block 40 of vda
undo web
