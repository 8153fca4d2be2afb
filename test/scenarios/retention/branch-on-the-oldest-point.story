# The replica runs on the oldest point, and after the undo its branch is kept: retention takes that point from the list, but not what the branch reads.
vm web on production

protect web from production to recovery: keep 2
write web vda 1 oldest
run web
write web vda 1 newer
run web
fail over web to P1 fencing by power-off
write web-replica vda 2 precious
undo web
write web vda 1 newest
run web
run web
expect 2 points of web
fail over web to archive B1
expect web-replica to hold oldest 1 in block 1 of vda
expect web-replica to hold precious 2 in block 2 of vda
undo web
run web
