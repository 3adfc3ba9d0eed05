-- Lock these wallets ($1 uuid[]), in the order of their ids, as mutations do; what follows in the transaction sees them as they are.
SELECT wallet_id FROM wallets
WHERE wallet_id = any($1)
ORDER BY wallet_id FOR NO KEY UPDATE
