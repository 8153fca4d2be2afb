# The newest point is bad: the running replica moves to an older one, what it wrote on the bad one is kept, and the source is never asked to come back.
vm web on production

protect web from production to recovery
write web vda 1 good
run web
write web vda 1 bad
run web
fail over web fencing by power-off
hop web to P1
expect web-replica to hold good 1 in block 1 of vda
expect web on production off
undo web
expect 2 points of web
run web
