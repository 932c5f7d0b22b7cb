from django.db import migrations, models, router

from broadcast.models.installation import MOST, ONLY, new_prefix


def name_installation(apps, schema_editor):
    """Write the random prefix of this installation, once and for all."""
    Installation = apps.get_model('broadcast', 'Installation')
    alias = schema_editor.connection.alias
    if router.allow_migrate_model(alias, Installation):
        Installation.objects.using(alias).create(pk=ONLY, prefix=new_prefix())


class Migration(migrations.Migration):

    dependencies = [
        ('broadcast', '0005_recording'),
    ]

    operations = [
        migrations.CreateModel(
            name='Installation',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=ONLY, editable=False, primary_key=True, serialize=False)),
                ('prefix', models.CharField(max_length=MOST, verbose_name='prefix')),
                ('server', models.CharField(blank=True, default='', max_length=16, verbose_name='server')),
            ],
            options={
                'verbose_name': 'installation',
                'verbose_name_plural': 'installations',
            },
        ),
        migrations.RunPython(name_installation, migrations.RunPython.noop, elidable=False),
    ]
