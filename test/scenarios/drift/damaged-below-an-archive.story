# Somebody writes into a layer that an archive reads through. The repair drops the restore points over it; the layer itself stays for as long as the archive does, is merged nowhere, and keeps no run from going on.
vm web on production

protect web from production to recovery: keep 3
run web
write web vda 1 one
run web
write web vda 2 two
run web
fail over web fencing by power-off
undo web
somebody writes into the layer of vda in P2
repair web
repair web
write web vda 3 three
run web
write web vda 4 four
run web
write web vda 5 five
run web
expect 3 points of web
fail over web fencing by power-off
expect web-replica to hold five 5 in block 5 of vda
undo web
