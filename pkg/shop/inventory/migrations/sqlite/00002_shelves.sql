-- +goose Up
INSERT INTO stock (sku, on_hand) VALUES
    ('TEA-GREEN', 1000000),
    ('TEA-BLACK', 1000000),
    ('TEA-OOLONG', 1000000),
    ('MUG-BLUE', 1000000),
    ('KETTLE-1L', 1000000),
    ('MUG-LIMITED', 25),
    ('MUG-SOLDOUT', 0);

-- +goose Down
DELETE FROM stock WHERE sku IN
    ('TEA-GREEN', 'TEA-BLACK', 'TEA-OOLONG', 'MUG-BLUE', 'KETTLE-1L', 'MUG-LIMITED', 'MUG-SOLDOUT');
