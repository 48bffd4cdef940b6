<?php
// Holds its worker for 8 ms and an exponential time of 12 ms in the mean, as a page does that asks others.
usleep((int) (8000 - 12000 * log(1 - mt_rand() / (mt_getrandmax() + 1))));
header('Content-Type: text/plain');
echo "page\n";
