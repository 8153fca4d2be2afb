# A disk grows between two points: the newer point is larger and incremental, the older one still boots at its own size.
vm web on production

protect web from production to recovery
run web
disk vda of web becomes 12 MiB
write web vda 150 in the new part
run web
expect the log to say vda incremental
fail over web to P1 fencing by power-off
undo web
fail over web fencing by power-off
expect web-replica to hold in the new part 150 in block 150 of vda
undo web
