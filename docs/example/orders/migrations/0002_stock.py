"""Something to sell, and the stream of the board."""

from django.db import migrations

TEAS = [
    ("Assam", "kräftig und malzig, am Morgen", "3.20"),
    ("Darjeeling", "blumig, die erste Pflückung", "3.80"),
    ("Sencha", "grün und frisch, aus Uji", "3.60"),
    ("Ostfriesenmischung", "mit Kluntje und Wölkchen", "3.40"),
]


def stock(apps, schema_editor):
    Tea = apps.get_model("orders", "Tea")
    for name, note, price in TEAS:
        Tea.objects.create(name=name, note=note, price=price)
    Stream = apps.get_model("broadcast", "Stream")
    Stream.objects.get_or_create(slug="tafel", defaults={"title": "Fertige Bestellungen"})


class Migration(migrations.Migration):
    dependencies = [("orders", "0001_initial"), ("broadcast", "0001_initial")]
    operations = [migrations.RunPython(stock, migrations.RunPython.noop)]
