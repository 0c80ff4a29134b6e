"""Every figure that a stage measures, in one table."""

from tasks.metrics.metric import Metric

METRICS: tuple[Metric, ...] = (
    Metric(key='nats_per_sample', label='NLL', unit='nats', direction='lower', digits=3, meaning='held-out negative log likelihood of a sample, given the true ones before it', source='', kinds=('scores', 'captures'), group=''),
    Metric(key='mr_stft', label='MR-STFT', unit='', direction='lower', digits=2, meaning='multi-resolution STFT distance: spectral convergence plus log magnitude', source='', kinds=('scores', 'captures'), group=''),
    Metric(key='log_spectral_distance_db', label='LSD', unit='dB', direction='lower', digits=1, meaning='log-spectral distance, floor 80 dB below full scale', source='', kinds=('scores', 'captures'), group=''),
    Metric(key='onset_f1', label='Onset F1', unit='', direction='higher', digits=3, meaning='notes found with the right key and an onset within 50 ms', source='', kinds=('scores', 'captures'), group=''),
    Metric(key='offset_f1', label='Offset F1', unit='', direction='higher', digits=3, meaning='those whose release is right too, within 20 % of the note or 50 ms', source='', kinds=('scores', 'captures'), group=''),
    Metric(key='velocity_f1', label='Velocity F1', unit='', direction='higher', digits=3, meaning='those found whose loudness, scaled as a whole, is right within 10 %', source='', kinds=('scores', 'captures'), group=''),
    Metric(key='velocity_mae', label='Velocity error', unit='', direction='lower', digits=1, meaning='mean absolute error of MIDI velocity over the notes found', source='', kinds=('scores', 'captures'), group=''),
    Metric(key='amplitude_correlation', label='Amplitudes', unit='', direction='higher', digits=3, meaning='correlation of the note amplitudes with those measured in the true sound, over all notes and frames', source='', kinds=('scores', 'captures'), group=''),
    Metric(key='frame_f1', label='Frame F1', unit='', direction='higher', digits=3, meaning='notes that are on, frame by frame', source='', kinds=('scores', 'captures'), group=''),
    Metric(key='onset_coincidence', label='Coincidence', unit='', direction='nearest 0', digits=3, meaning='correlation between the onsets of different notes; near 1 every note is played at once', source='', kinds=('scores', 'captures'), group=''),
    Metric(key='onset_lag_ms', label='Onset lag', unit='ms', direction='nearest 0', digits=1, meaning='median of how late the notes found are', source='', kinds=('scores', 'captures'), group=''),
    Metric(key='si_sdr_improvement_db', label='SI-SDRi', unit='dB', direction='higher', digits=2, meaning="by how much a player's SI-SDR is above the one that the mix itself has, mean over the players", source='', kinds=('ensembles',), group=''),
    Metric(key='si_sdr_db', label='SI-SDR', unit='dB', direction='higher', digits=2, meaning='scale-invariant signal-to-distortion ratio while a player plays, mean over the players', source='', kinds=('ensembles',), group=''),
    Metric(key='sdr_db', label='SDR', unit='dB', direction='higher', digits=2, meaning="BSS Eval's signal-to-distortion ratio, median over the seconds in which all play", source='', kinds=('ensembles',), group=''),
    Metric(key='sir_db', label='SIR', unit='dB', direction='higher', digits=2, meaning="BSS Eval's signal-to-interference ratio: to what is of the others", source='', kinds=('ensembles',), group=''),
    Metric(key='leakage_db', label='Leakage', unit='dB', direction='lower', digits=1, meaning="how loud a player's sound is while he rests, against the mix there, mean of all his rests", source='', kinds=('ensembles',), group=''),
    Metric(key='onset_f1_10_ms', label='10 ms', unit='', direction='higher', digits=3, meaning='notes found with the right key and an onset within 10 ms', source='', kinds=('captures',), group='Onset F1 by tolerance'),
    Metric(key='onset_f1_20_ms', label='20 ms', unit='', direction='higher', digits=3, meaning='notes found with the right key and an onset within 20 ms', source='', kinds=('captures',), group='Onset F1 by tolerance'),
    Metric(key='onset_f1_30_ms', label='30 ms', unit='', direction='higher', digits=3, meaning='notes found with the right key and an onset within 30 ms', source='', kinds=('captures',), group='Onset F1 by tolerance'),
    Metric(key='onset_f1_50_ms', label='50 ms', unit='', direction='higher', digits=3, meaning='notes found with the right key and an onset within 50 ms', source='', kinds=('captures',), group='Onset F1 by tolerance'),
    Metric(key='onset_f1_75_ms', label='75 ms', unit='', direction='higher', digits=3, meaning='notes found with the right key and an onset within 75 ms', source='', kinds=('captures',), group='Onset F1 by tolerance'),
    Metric(key='onset_f1_100_ms', label='100 ms', unit='', direction='higher', digits=3, meaning='notes found with the right key and an onset within 100 ms', source='', kinds=('captures',), group='Onset F1 by tolerance'),
    Metric(key='amplitude_rmse', label='Amplitude error', unit='', direction='lower', digits=5, meaning='root of the mean squared error of the note amplitudes, on their own scale', source='', kinds=('captures',), group='Amplitudes and onsets'),
    Metric(key='note_correlation', label="Notes' mean", unit='', direction='higher', digits=3, meaning="correlation of a note's amplitudes with the true ones, mean of the notes that sound", source='', kinds=('captures',), group='Amplitudes and onsets'),
    Metric(key='worst_note_correlation', label='Worst note', unit='', direction='higher', digits=3, meaning='the smallest of them', source='', kinds=('captures',), group='Amplitudes and onsets'),
    Metric(key='amplitude_lag_ms', label="Onset vectors' lag", unit='ms', direction='nearest 0', digits=1, meaning="by how much the amplitudes' rises are late, all notes together", source='', kinds=('captures',), group='Amplitudes and onsets'),
    Metric(key='true_onset_coincidence', label='True coincidence', unit='', direction='none', digits=3, meaning='the same of what was really played', source='', kinds=('captures',), group='Amplitudes and onsets'),
    Metric(key='onset_precision', label='Onset precision', unit='', direction='higher', digits=3, meaning='share of the notes found that were played, within 50 ms', source='', kinds=('captures',), group='Amplitudes and onsets'),
    Metric(key='onset_recall', label='Onset recall', unit='', direction='higher', digits=3, meaning='share of the notes played that were found, within 50 ms', source='', kinds=('captures',), group='Amplitudes and onsets'),
    Metric(key='estimate_level_dbfs', label='Level', unit='dBFS', direction='none', digits=1, meaning='of the sound, its RMS against full scale', source='', kinds=('captures',), group='Sound'),
    Metric(key='truth_level_dbfs', label='True level', unit='dBFS', direction='none', digits=1, meaning='the same of the true sound', source='', kinds=('captures',), group='Sound'),
    Metric(key='comb_db', label='Comb', unit='dB', direction='none', digits=1, meaning='how far what sounds at multiples of the frame rate stands above its surroundings: a buzz', source='', kinds=('captures',), group='Sound'),
    Metric(key='true_comb_db', label='True comb', unit='dB', direction='none', digits=1, meaning='the same of the true sound, which has it by chance alone', source='', kinds=('captures',), group='Sound'),
    Metric(key='black_level_dbfs', label='On black', unit='dBFS', direction='lower', digits=1, meaning='how loud it is on a film that is all black; silence is -120', source='', kinds=('captures',), group='Sound'),
    Metric(key='white_level_dbfs', label='On white', unit='dBFS', direction='lower', digits=1, meaning='how loud it is on a film that is all white', source='', kinds=('captures',), group='Sound'),
    Metric(key='isr_db', label='ISR', unit='dB', direction='higher', digits=2, meaning="of BSS Eval's distortion, to what is the player's own but filtered", source='', kinds=('ensembles',), group='BSS Eval, and the worst leakage'),
    Metric(key='sar_db', label='SAR', unit='dB', direction='higher', digits=2, meaning="of BSS Eval's distortion, to what is of nobody", source='', kinds=('ensembles',), group='BSS Eval, and the worst leakage'),
    Metric(key='leakage_worst_db', label='Worst leakage', unit='dB', direction='lower', digits=1, meaning='leakage in the worst quarter of a second of a take', source='', kinds=('ensembles',), group='BSS Eval, and the worst leakage'),
    Metric(key='swap_follows_db', label='Views exchanged', unit='dB', direction='higher', digits=1, meaning="by how much each sound of a duet of one instrument comes nearer to the other player's once their views are exchanged: what follows the eye is far above 0", source='', kinds=('ensembles',), group='Do they follow what they see?'),
    Metric(key='swap_against_labels_db', label='… against labels', unit='dB', direction='none', digits=1, meaning='the same of a duet of two instruments, whose labels stay: above 0 the eye outweighs them', source='', kinds=('ensembles',), group='Do they follow what they see?'),
    Metric(key='blank_fades_db', label='View blanked', unit='dB', direction='none', digits=1, meaning='by how much a player fades once his view is black', source='', kinds=('ensembles',), group='Do they follow what they see?'),
    Metric(key='blank_keeps_db', label='… of the other', unit='dB', direction='none', digits=1, meaning='by how much louder the other one becomes by that', source='', kinds=('ensembles',), group='Do they follow what they see?'),
    Metric(key='si_sdr_above_first_db', label='SI-SDR above it', unit='dB', direction='none', digits=2, meaning="SI-SDR less that of the family's first system, over the same takes", source='', kinds=('ensembles',), group="Beside the family's first system"),
    Metric(key='si_sdr_above_first_low_db', label='from', unit='dB', direction='none', digits=2, meaning='lower end of its 95 % interval over pieces', source='', kinds=('ensembles',), group="Beside the family's first system"),
    Metric(key='si_sdr_above_first_high_db', label='to', unit='dB', direction='none', digits=2, meaning='upper end of it', source='', kinds=('ensembles',), group="Beside the family's first system"),
)


def metric(key: str) -> Metric:
    """Return the metric called ``key``."""
    return {one.key: one for one in METRICS}[key]
