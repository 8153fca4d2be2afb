# Weeks after the job was made the source gets more memory than the target has: the next run says so, at once and not in the night of the failover, in which that very restore point does not start. One from before still does, and the condition goes when the source is mended. What the replica merely does without is told once.
vm web on production

protect web from production to recovery
run web
recovery has 32 GiB of memory
memory of web becomes 48 GiB
run web
expect web to be target-unfit
expect 2 points of web
run web
expect web to be target-unfit
fail over web fencing by power-off
expect the log to say its host has not so much memory
hop web to P1
expect web-replica running
undo web
memory of web becomes 16 GiB
run web
expect web to be not target-unfit
web is plugged into network:dmz
run web
expect the log to say Host recovery has no network network:dmz
expect web to be not target-unfit
run web
fail over web fencing by power-off
expect web-replica running
