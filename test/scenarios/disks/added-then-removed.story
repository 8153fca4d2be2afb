# A disk comes and goes: new points have what the VM has, older ones keep what they had.
vm web on production

protect web from production to recovery
run web
disk vdc of 4 MiB is added to web
write web vdc 1 on the new disk
run web
expect the log to say vdc full 64.0 KiB
disk vdc is removed from web
run web
fail over web to P2 fencing by power-off
expect web-replica to hold on the new disk 1 in block 1 of vdc
undo web
run web
expect 4 points of web
